"""From a model's name to its skeleton, weights and tokenizer, in whichever library builds it."""
