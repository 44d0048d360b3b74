"""Why a window loses more than those before it: the difference in mean loss, split into parts that add up.

The parts are taken one after the other, each from what the one before left:

1. Broken data (`faults`): what rows with a fault lose beyond what a model of the earlier loss, by their sound columns,
   and the sound rows of the same window say.
2. Covariates: both periods are weighted to the inputs they share, with weights ``p q / (p + q)`` of their densities, so
   that none exceeds one (Cai, Namkoong and Yadlowsky 2023); what the weights change is the covariates' part. The
   densities' ratio is the odds of an additive classifier of the two periods, cross-fitted over blocks of time; a column
   counts where it separates them better than it separates blocks of earlier rows. As it is additive, any
   set of columns can be shifted alone: by column the part is split by Shapley's value over sampled orders.
3. Label rate or level: what a shift of all labels (of their log-odds) loses, by as much as their mean has moved at
   shared inputs.
4. Concept: the rest; and where it is (`segments`).

Intervals come from resampled blocks of time, the fitted weights held fixed, and are at least as wide as stretches of
the earlier rows differ among themselves.
"""
