"""The paper's claims, the rules that judge them, and the evidence on which they are judged."""
