//! A model's file, looked after: a new model is put into service once its file's content has changed and is
//! settled. What is taken or refused is remembered by its digest, so that nothing is tried twice.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::exchange::{ModelSlot, Slot};
use crate::{
    file::hex,
    predict::Predictor,
    shield::shielded,
    supervisor::{Part, Supervisor},
};

/// Looks after a file until it is dropped, see [`ModelSlot::watch`].
#[must_use = "nobody looks after the file once it is dropped"]
pub struct Watch {
    /// Dropped to end the thread.
    _stop: SyncSender<()>,
}

/// What a file is taken by: its content, never its time stamp.
type Content = [u8; 32];

impl<P: Predictor> ModelSlot<P> {
    /// Looks at the file every `interval` and puts the model that `load` makes of it into service once its
    /// content has changed and is the same at two looks: a file that is being copied is not taken half.
    /// What is there now is taken as well, unless the identity of the model in service has its SHA-256, as
    /// [`ModelIdentity::of_file`](crate::predict::ModelIdentity::of_file) makes it.
    ///
    /// What can't be loaded, or is refused, is said once in the log, and so is that there is no file; the
    /// model in service goes on. The thread is among the program's `parts`.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn watch(
        &self,
        path: impl Into<PathBuf>,
        interval: Duration,
        load: impl Fn(&Path) -> Result<P, String> + Send + 'static,
        parts: &Supervisor,
    ) -> io::Result<Watch> {
        let (path, part) = (path.into(), parts.part("thread that watches the model's file"));
        let (stop, stopped) = sync_channel::<()>(0);
        let slot = Arc::downgrade(&self.0);
        let mut seen = Seen::of(self, &path);
        thread::Builder::new().name("model-watch".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                if !look(&slot, &path, &load, &mut seen) {
                    break;
                }
            }
            Part::done(part);
        })?;
        Ok(Watch { _stop: stop })
    }
}

struct Seen {
    /// What serves, or was refused.
    taken: Option<Content>,
    /// What was there at the last look.
    last: Option<Content>,
    /// It was said that there is none.
    is_missing: bool,
}

impl Seen {
    fn of<P: Predictor>(slot: &ModelSlot<P>, path: &Path) -> Self {
        let taken = content(path).ok().filter(|found| is_serving(slot, found));
        Self { taken, last: None, is_missing: false }
    }
}

/// Whether the model in service was made of this.
fn is_serving<P: Predictor>(slot: &ModelSlot<P>, content: &Content) -> bool {
    hex(content) == slot.identity().sha256
}

/// Looks once; `false` where the slot is gone.
fn look<P: Predictor>(
    slot: &Weak<Slot<P>>,
    path: &Path,
    load: &impl Fn(&Path) -> Result<P, String>,
    seen: &mut Seen,
) -> bool {
    let Some(slot) = slot.upgrade().map(ModelSlot) else { return false };
    let found = match content(path) {
        Ok(found) => found,
        Err(error) => {
            // A path that is wrong must not look like a file that does not change.
            if !std::mem::replace(&mut seen.is_missing, true) {
                let path = path.display();
                tracing::warn!(%path, %error, "there is no new model to read; it is looked for again");
            }
            return true;
        }
    };
    seen.is_missing = false;
    let is_settled = seen.last.replace(found) == Some(found);
    if !is_settled || seen.taken == Some(found) {
        return true;
    }
    // It would take the place of the model to go back to.
    if is_serving(&slot, &found) {
        seen.taken = Some(found);
        return true;
    }
    let loaded = shielded(|| load(path)).and_then(|loaded| loaded);
    // What was loaded may be half of what is being written now: whole or not, it is another content.
    if content(path).ok() != Some(found) {
        seen.last = None;
        return true;
    }
    seen.taken = Some(found);
    // A refusal is in the log and the history already.
    drop(slot.swap_file(path, |_| loaded));
    true
}

fn content(path: &Path) -> io::Result<Content> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut digest = Sha256::new();
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            return Ok(digest.finalize().into());
        }
        digest.update(piece);
        let read = piece.len();
        file.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::predict::{ModelIdentity, PredictError, function};

    type Scaled = Arc<dyn Predictor<Input = f64, Output = f64>>;

    /// A model of one number; what is no number is no model.
    fn load(path: &Path) -> Result<Scaled, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let factor: f64 = text.trim().parse().map_err(|_| format!("{text:?} is no number"))?;
        let identity = ModelIdentity::of_bytes("scaled", "1", text.as_bytes());
        Ok(Arc::new(function(identity, move |batch: &[f64]| {
            Ok::<_, PredictError>(batch.iter().map(|x| factor * x).collect())
        })))
    }

    /// A folder of this name's own, and in it the file of a model that doubles.
    fn file_of_2(name: &str) -> (PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model");
        fs::write(&path, "2").unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_is_taken_by_its_content_once_it_is_settled_and_a_bad_one_once_refused() {
        let (folder, path) = file_of_2("slot");
        let slot = ModelSlot::new(load(&path).unwrap());
        let weak = Arc::downgrade(&slot.0);
        let mut seen = Seen::of(&slot, &path);
        let mut look = || look(&weak, &path, &load, &mut seen);
        let answers = || slot.predict(&[1.0]).unwrap()[0];

        // Written again, it is the same model.
        fs::write(&path, "2").unwrap();
        assert!(look() && look());
        assert_eq!((answers(), slot.changes_so_far().len()), (2.0, 0));
        // One that was replaced before anybody watched is taken.
        assert_eq!(Seen::of(&slot, &path).taken, content(&path).ok());
        fs::write(&path, "2.0").unwrap();
        assert_eq!(Seen::of(&slot, &path).taken, None);
        // One that is being copied is another at each look.
        for half in ["3", "3.", "3.2"] {
            fs::write(&path, half).unwrap();
            assert!(look());
        }
        assert_eq!(answers(), 2.0);
        fs::write(&path, "3.25").unwrap();
        assert!(look() && look());
        assert_eq!(answers(), 3.25);
        fs::write(&path, "three").unwrap();
        assert!(look() && look() && look());
        let reason = slot.changes_so_far().pop().unwrap().kind.reason().map(str::to_owned).unwrap();
        assert!(reason.ends_with("scaled 1 goes on: \"three\" is no number"), "{reason}");
        assert_eq!((answers(), slot.changes_so_far().len()), (3.25, 2));
        fs::remove_file(&path).unwrap();
        assert!(look());
        assert_eq!(answers(), 3.25);
        fs::write(&path, "4").unwrap();
        assert!(look() && look());
        assert_eq!(answers(), 4.0);
        // What serves again after a rollback is not put in once more when its file is back.
        slot.roll_back("a whim").unwrap();
        fs::write(&path, "2").unwrap();
        assert!(look() && look());
        assert_eq!((answers(), slot.changes_so_far().len()), (2.0, 4));
        drop(slot);
        assert!(!look());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_changes_or_vanishes_while_it_is_read_is_taken_once_it_is_settled_again() {
        let (folder, path) = file_of_2("slot-moving");
        let slot = ModelSlot::new(load(&path).unwrap());
        let weak = Arc::downgrade(&slot.0);
        let mut seen = Seen::of(&slot, &path);
        fs::write(&path, "3").unwrap();
        // Half of the next one is a model, too.
        let overwritten = |path: &Path| {
            fs::write(path, "3.5").unwrap();
            let half = load(path);
            fs::write(path, "3.52").unwrap();
            half
        };
        assert!(look(&weak, &path, &load, &mut seen));
        assert!(look(&weak, &path, &overwritten, &mut seen));
        assert_eq!((slot.predict(&[1.0]).unwrap(), slot.changes_so_far().len()), (vec![2.0], 0));
        let removed = |path: &Path| {
            fs::remove_file(path).unwrap();
            load(path)
        };
        assert!(look(&weak, &path, &load, &mut seen));
        assert!(look(&weak, &path, &removed, &mut seen));
        assert!(look(&weak, &path, &load, &mut seen));
        fs::write(&path, "3.52").unwrap();
        assert!(look(&weak, &path, &load, &mut seen) && look(&weak, &path, &load, &mut seen));
        assert_eq!((slot.predict(&[1.0]).unwrap(), slot.changes_so_far().len()), (vec![3.52], 1));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_watch_that_is_dropped_ends_its_thread_without_harm_to_the_program() {
        let (folder, path) = file_of_2("slot-watch");
        let (parts, slot) = (Supervisor::new(), ModelSlot::new(load(&path).unwrap()));
        let (loaded, loads) = sync_channel(1);
        let load_and_tell = move |path: &Path| {
            let model = load(path);
            loaded.send(()).unwrap();
            model
        };
        let watch = slot.watch(&path, Duration::from_millis(1), load_and_tell, &parts).unwrap();
        fs::write(&path, "3").unwrap();
        loads.recv().unwrap();
        drop(watch);
        // The thread drops what tells of loads when it ends.
        loads.recv().unwrap_err();
        assert_eq!(slot.predict(&[1.0]), Ok(vec![3.0]));
        assert_eq!(parts.failure(), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
