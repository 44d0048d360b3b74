"""Model families behind one protocol, and the predictors that run what they release."""
