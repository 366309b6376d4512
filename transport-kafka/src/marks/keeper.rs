//! The thread that reads and writes marks, by a client of its own.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use stream_inference::Part;
use tokio::time::Instant;

use crate::{
    KafkaConfig, KafkaSetupError,
    connect::log::Logged,
    marks::{Mark, Task, Text},
    shared::{Shared, until},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// How soon what failed is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(200);

pub(crate) struct Keeper {
    client: BaseConsumer<Logged>,
    shared: Arc<Shared>,
    group_id: String,
}

impl Keeper {
    pub(crate) fn new(config: &KafkaConfig, shared: Arc<Shared>) -> Result<Self, KafkaSetupError> {
        // Nobody joins it.
        let group_id = format!("{}.in-flight", config.group_id);
        let mut client = config.reader()?;
        client.set("group.id", &group_id);
        client.remove("group.instance.id");
        let client = client.create_with_context(Logged).map_err(KafkaSetupError::Configuration)?;
        Ok(Self { client, shared, group_id })
    }

    /// Does what there is to do until the transport has closed and the farewells are written.
    pub(crate) fn run(self, part: Part) {
        while let Some(tasks) = self.shared.next_tasks() {
            // Serves what the client has to tell, which nobody else does.
            self.client.poll(Duration::ZERO);
            let done = self.carry_out(&tasks);
            if let Err(error) = &done {
                self.failed(error);
            }
            self.shared.marked.notify_all();
            self.shared.arrived.notify_waiters();
            if done.is_err() && !self.shared.pause(RETRY_WAIT) {
                break;
            }
        }
        part.done();
    }

    fn failed(&self, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        if let Some(Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed) = code {
            tracing::warn!(
                %error,
                group = self.group_id,
                "no right to this group: a message that ends the process again and again will not go \
                 to the dead letters"
            );
            self.shared.state().intake.marks.disable();
        } else {
            tracing::debug!(%error, "marks not kept; that is tried again");
        }
    }

    fn carry_out(&self, tasks: &[Task]) -> Result<(), KafkaError> {
        let topic = &self.shared.topic;
        let (mut unread, mut unwritten) = (TopicPartitionList::new(), TopicPartitionList::new());
        for task in tasks {
            match task {
                Task::Read { partition } => drop(unread.add_partition(topic, *partition)),
                Task::Write { partition, mark } => {
                    let mut place = unwritten.add_partition(topic, *partition);
                    place.set_offset(Offset::Offset(mark.offset))?;
                    place.set_metadata(mark.text.to_string());
                }
            }
        }
        if unread.count() > 0 {
            for place in self.client.committed_offsets(unread, PATIENCE)?.elements() {
                place.error()?;
                let mark = match place.offset() {
                    Offset::Offset(offset) => Mark { offset, text: Text::parse(place.metadata()) },
                    _ => Mark::default(),
                };
                let end = match mark.text {
                    Text::Closed => 0,
                    _ => self.client.fetch_watermarks(topic, place.partition(), PATIENCE)?.1,
                };
                self.shared.state().intake.marks.read(place.partition(), mark, end);
            }
        }
        if unwritten.count() > 0 {
            self.client.commit(&unwritten, CommitMode::Sync)?;
            let mut state = self.shared.state();
            for task in tasks {
                if let Task::Write { partition, mark } = task {
                    state.intake.marks.written(*partition, *mark);
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Waits until every mark is as it is wanted, until `deadline` at most.
    pub(crate) async fn marks_kept(&self, deadline: Instant) {
        self.marked.notify_all();
        until(&self.arrived, deadline, || self.state().intake.marks.tasks().is_empty()).await;
    }

    /// Blocks until the keeper has something to do; `None` once the transport has closed.
    fn next_tasks(&self) -> Option<Vec<Task>> {
        let mut state = self.state();
        loop {
            let tasks = state.intake.marks.tasks();
            if !tasks.is_empty() {
                return Some(tasks);
            }
            if state.group.is_closing {
                return None;
            }
            state = self.marked.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
