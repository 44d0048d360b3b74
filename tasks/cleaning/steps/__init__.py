"""Steps of cleaning, a module each; `expectations.slots.CLEANING` names them."""
