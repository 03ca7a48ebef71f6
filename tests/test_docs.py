"""The documents say what is so: every command, config snippet, link, test and message that they name exists."""

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from cyclopts.exceptions import MissingArgumentError

import ich
from ich.cli import app, parse_overrides
from ich.config.read import in_section, load, validate

ROOT = Path(__file__).parents[1]
RSNA, REFERENCE = (ROOT / "configs" / name for name in ("rsna.yaml", "reference.yaml"))
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TROUBLESHOOTING, NOTEBOOK = ROOT / "docs" / "troubleshooting.md", ROOT / "docs" / "colab.ipynb"

FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def fenced(path, language):
    return [code for name, code in FENCED.findall(path.read_text()) if name == language]


def inline(path):
    return INLINE.findall(FENCED.sub("", path.read_text()))


def shell_lines(path):
    """Command lines of a page's shell blocks, or of a notebook's cells."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text())["cells"]
        lines = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code").splitlines()
        return [line[1:] for line in lines if line.startswith("!")]
    return [line.strip() for block in fenced(path, "sh") for line in block.splitlines()]


def is_ours(line):
    return line.startswith(("ich ", ".venv/bin/ich "))


def marked(items):
    return pytest.mark.parametrize(
        ("page", "text"), [pytest.param(*item, id=f"{item[0].name}: {item[1]}") for item in items]
    )


def check_command(line):
    """The command exists, its options parse, and its overrides are keys of the config with values that it takes."""
    tokens = shlex.split(line.replace(" CONFIG", f" {RSNA}"), comments=True)[1:]
    end = next((place for place, token in enumerate(tokens) if token in {">", "|", "&&", ";"}), len(tokens))
    _, bound, *_ = app.parse_args(tokens[:end], exit_on_error=False, print_error=False)
    overrides = parse_overrides(bound.arguments.get("overrides", ()))
    if config := bound.arguments.get("config"):
        load(ROOT / config, in_section(tokens[0], overrides))
    else:
        assert not overrides


LINES = {(page, line) for page in [*PAGES, NOTEBOOK] for line in shell_lines(page)}


@marked(sorted((page, line) for page, line in LINES if is_ours(line)))
def test_command_lines_work(page, text):
    check_command(text)


@marked(sorted({(page, code) for page in PAGES for code in inline(page) if is_ours(code)}))
def test_commands_that_the_text_mentions_exist(page, text):
    try:
        check_command(text)
    except MissingArgumentError:
        assert len(text.split()) == 2, "a command with options must be complete"


@marked(sorted({(page, code) for page in PAGES for code in inline(page) if re.match(r"--\w+\.\w+.* ", code)}))
def test_overrides_that_the_text_mentions_are_valid(page, text):
    load(RSNA, parse_overrides(tuple(shlex.split(text))))


def test_readme_names_every_command():
    named = set(re.findall(r"`ich (\w+)", (ROOT / "README.md").read_text()))
    assert named >= {name for name in app if not name.startswith("-")}


def test_make_targets_and_extras_exist():
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    targets = set(re.findall(r"^([\w./-]+):", makefile, re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in [*PAGES, NOTEBOOK]:
        code = "\n".join([*inline(page), *shell_lines(page)]) if page.suffix == ".md" else page.read_text()
        assert set(re.findall(r"(?<!install )\bmake (?:\w+=\S+ )?([\w./]+)", code)) <= targets
        assert set(re.findall(r"\.\[(\w+)\]", code)) <= set(extras)


def merge(tree, change):
    both = {key: merge(tree[key], value) for key, value in change.items() if isinstance(value, dict) and tree.get(key)}
    return tree | change | both


@marked([(page, snippet) for page in PAGES for snippet in fenced(page, "yaml")])
def test_config_snippets_are_valid_and_change_something(page, text):
    changed = 0
    for config in (RSNA, REFERENCE):
        tree = yaml.safe_load(config.read_text())
        changed += validate(merge(tree, yaml.safe_load(text)), "snippet") != load(config)
    assert changed, "neither config is changed: the remedy is what they do already"


def test_troubleshooting_has_the_remedies_of_the_notebooks():
    wanted = {
        ("train", "batch_size"): {16, 8},
        ("train", "accumulation"): {2, 4},
        ("preprocess", "size"): {224},
        ("train", "heads", "gate_dropout"): {0.5},
        ("train", "loss", "focal_gamma"): {2},
        ("train", "loss", "label_weights", "epidural"): {2},
        ("train", "early_stopping", "patience"): {3, 7},
        ("train", "plateau", "patience"): {3},
    }
    snippets = [yaml.safe_load(code) for code in fenced(TROUBLESHOOTING, "yaml")]
    assert all("l2" not in str(snippet) or snippet["train"]["heads"]["l2"] for snippet in snippets)
    for keys, values in wanted.items():
        assert values <= {value for snippet in snippets if (value := dig(snippet, keys)) is not None}, keys


def dig(tree, keys):
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def test_messages_in_troubleshooting_are_those_of_the_source():
    source = [(ROOT / "Makefile").read_text()]
    for path in (ROOT / "src" / "ich").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        source += [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    table = TROUBLESHOOTING.read_text().split("## Errors")[1].split("###")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(messages) > 8
    assert [message for message in messages if not any(message in text for text in source)] == []


def anchors(path):
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@marked(sorted({(page, link) for page in PAGES for link in LINK.findall(page.read_text()) if "://" not in link}))
def test_links_lead_somewhere(page, text):
    name, _, anchor = text.partition("#")
    target = page.parent / name if name else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


@marked(
    sorted(
        {
            (ROOT / "ARCHITECTURE.md", code)
            for code in inline(ROOT / "ARCHITECTURE.md")
            if code.startswith("tests/") and ".py" in code
        }
    )
)
def test_every_test_that_holds_an_invariant_exists(page, text):
    path, _, name = text.partition("::")
    assert (f"def {name}(" if name else "def test_") in (ROOT / path).read_text()


def test_every_invariant_has_a_test_and_every_folder_a_line():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| (.+) \| (.*)\|$", text.split("## Invariants")[1].split("##")[0], re.MULTILINE)[1:]
    assert len(rows) >= 7
    assert [rule for rule, tests in rows if "tests/" not in tests] == []
    folders = [path.name for path in (ROOT / "src" / "ich").iterdir() if (path / "__init__.py").exists()]
    assert [name for name in folders if f"`src/ich/{name}/`" not in text] == []
    for path in re.findall(r"`(src/ich/[\w/.]+|configs/|benchmarks/|tests/)`", text):
        assert (ROOT / path).exists(), path


def test_colab_is_a_notebook_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert cell["cell_type"] in {"markdown", "code"}
        assert all(isinstance(line, str) for line in cell["source"])
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            ast.parse("\n".join(line for line in "".join(cell["source"]).splitlines() if line[:1] not in "!%"))
    assert sum(map(is_ours, shell_lines(NOTEBOOK))) >= 4


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == ich.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == ich.__version__
    assert f"## [{ich.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_nothing_is_left_to_fill_in():
    assert [page.name for page in PAGES if "TO-BE-FILLED" in page.read_text()] == []
