"""TensorFlow's checkpoints of BERT, read without TensorFlow and written as a base model folder."""
