//! A client whose end blocks, with the broker away for long: nobody waits for it.

use std::{ops::Deref, thread};

/// A client that its last owner hands to a thread, which neither a worker nor the end of the runtime waits
/// for.
pub(crate) struct Leaving<C: Send + 'static> {
    client: Option<C>,
    farewell: Option<Box<dyn FnOnce(C) + Send + Sync>>,
}

impl<C: Send + 'static> Leaving<C> {
    /// A client that ends by `farewell`, on that thread.
    pub(crate) fn new(client: C, farewell: impl FnOnce(C) + Send + Sync + 'static) -> Self {
        Self { client: Some(client), farewell: Some(Box::new(farewell)) }
    }
}

impl<C: Send + 'static> Deref for Leaving<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.client.as_ref().expect("the client is there until it is dropped")
    }
}

impl<C: Send + 'static> Drop for Leaving<C> {
    fn drop(&mut self) {
        if let (Some(client), Some(farewell)) = (self.client.take(), self.farewell.take()) {
            thread::spawn(move || farewell(client));
        }
    }
}
