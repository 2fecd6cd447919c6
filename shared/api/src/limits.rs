//! Sizes of messages, agreed by both ends.
//!
//! tonic sets no limit on what it sends and 4 MiB on what it decodes, and an oversize message kills a call with a code
//! that blames nobody. So senders cut by these numbers and servers and clients are built with them.

/// Payload bytes of a tensor frame. Small enough that a frame with its envelope fits gRPC's default limit with room
/// to spare, large enough that 16 MB of hidden states take 16 messages.
pub const FRAME_BYTES: usize = 1 << 20;

/// Bytes of any message between our services: gRPC's own default.
pub const INTERNAL_MESSAGE_BYTES: usize = 4 << 20;

/// Bytes of a request to the public service. Requests carry whole image files, several in a conversation.
pub const PUBLIC_REQUEST_BYTES: usize = 32 << 20;

/// Bytes of an event of the public service. A 2048×2048 PNG of noise takes 12.6 MB.
pub const PUBLIC_RESPONSE_BYTES: usize = 32 << 20;

/// Bytes of one tensor between our services: 4096 positions of 4096 f32 values, above every tensor that the sizes we
/// serve can make.
pub const TENSOR_BYTES: u64 = 64 << 20;
