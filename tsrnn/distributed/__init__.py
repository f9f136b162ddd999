"""What knows Ray: nothing else in tsrnn imports it, so that `import tsrnn` loads no Ray."""
