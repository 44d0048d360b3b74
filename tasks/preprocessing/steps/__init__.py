"""Steps of the feature program, a module each; `expectations.slots.FEATURES` names them."""
