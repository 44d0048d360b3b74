"""What a champion's metric is expected to be on rows whose labels are not known.

What is learnt, once, on rows that the judged model had not learnt from: for a classifier how its probabilities are to
be read (a logistic line with a prior towards "as they are", Platt 2000), for a regression how large its errors are. A
few small trees over the features refine either where that predicts held-out rows better. Labels are then drawn from
what was learnt, many times; each draw is scored by the metric. For binary labels this is confidence-based estimation,
for numbers direct loss estimation, with any metric that can be scored.

Such an estimate holds as long as the labels depend on the rows as before. How far off it was in windows whose labels
have come since sets its level and the width of its interval; few labels of the window itself correct it.
"""
