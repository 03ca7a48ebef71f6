"""Reading CT slices from DICOM files and ordering them into series."""
