"""The paper's own figures, which travel with the project: Tables 2 to 6 of Yeung et al. 2022 as `tables.csv`."""
