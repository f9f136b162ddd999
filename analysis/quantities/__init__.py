"""The quantities that claims, figures and commands are about: tables in, one value a network and N out."""
