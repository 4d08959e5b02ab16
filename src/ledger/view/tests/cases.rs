//! Single cases: faults that are planted, races of loaders, edges of pages.
