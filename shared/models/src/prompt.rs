//! Prompts and their tokenization.
