"""Tools over the bundles: finding, checking, scaffolding, model cards."""
