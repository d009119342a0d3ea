"""From labelled rows to training batches: read, check, split, write as Arrow, tokenise once, plan batches."""
