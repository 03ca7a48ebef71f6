"""Millions of parameters of each backbone without its top, as Keras counts them; known without Keras."""

MILLIONS: dict[str, float] = {
    "EfficientNetV2Demo": 0.6, "EfficientNetV2B0": 5.9, "EfficientNetV2B1": 6.9, "EfficientNetV2B2": 8.8,
    "EfficientNetV2B3": 12.9, "EfficientNetV2S": 20.3, "EfficientNetV2M": 53.2, "EfficientNetV2L": 117.7,
    "ConvNeXtDemo": 0.3, "ConvNeXtTiny": 27.8, "ConvNeXtSmall": 49.5, "ConvNeXtBase": 87.6, "ConvNeXtLarge": 196.2,
    "ConvNeXtXLarge": 348.1,
}  # fmt: skip
