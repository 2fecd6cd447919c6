//! The generation loop as a state machine.
