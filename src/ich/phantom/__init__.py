"""Synthetic head CT: anatomy, bleeds, scanner, DICOM writer.

Coordinates of the head, in mm, are those of DICOM (PS3.3 C.7.6.2.1.1): x to the patient's left, y to the back, z to the
top. The origin lies in the middle of the skull at the height of the orbitomeatal line. What is random is drawn first
(`draw_*`, from a generator of the patient's own) and applied later, so worker count and order change nothing.
"""
