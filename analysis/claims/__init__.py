"""The paper's claims, the rules that judge them, and the evidence they are judged on."""
