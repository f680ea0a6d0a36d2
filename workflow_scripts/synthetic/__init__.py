"""The synthetic German-English-like corpus of the default experiment.

``docs/demo-corpus.md`` describes the grammar. The modules build on one another in this order: ``dice`` (randomness),
``phonology`` (invented roots), ``german`` and ``english`` (inflection), ``numerals``, ``words`` (lexeme types),
``coinage``, ``derivation``, ``reserved`` and ``lexicon`` (the vocabulary), ``determiners`` and ``phrases``,
``clauses``, ``adverbials``, ``planner`` and ``relatives`` (clauses), ``grammar`` (whole sentences) and ``corpus``
(distinct pairs, splits, statistics).
"""
