"""The study of docs/study.md: what its exported sweeps say, and the page that says it.

It is no part of the product: it asks the product's own answers, and adds what only a study of many data sets can be
asked. Every number of the page is made here from the sweeps in docs/study, and a test makes them again.
"""
