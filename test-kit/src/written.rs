use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, MutexGuard},
};

/// A writer that a test can look into. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// All that was written.
    pub fn bytes(&self) -> Vec<u8> {
        self.locked().clone()
    }

    /// The same as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// What was written since the last time, as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn take(&self) -> String {
        String::from_utf8(mem::take(&mut *self.locked())).unwrap()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.locked().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
