"""The only part of tsrnn that imports Ray, so that `import tsrnn` does not load Ray."""
