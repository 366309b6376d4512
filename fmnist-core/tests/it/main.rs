//! What fmnist-core promises, tested through its public interface.

mod memory;
mod official;
mod pipeline;
