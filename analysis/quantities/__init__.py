"""Quantities for claims, figures and commands: functions of tables, with one value for each network and N."""
