//! Choice of the next text token.
