"""What is wrong with a run, in words: `examine` looks, `verdicts` complain, `causes` explain, `remedies` advise."""
