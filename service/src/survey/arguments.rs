use clap::Args;

/// The arguments of programs that need topics or subscriptions.
#[derive(Clone, Debug, Args)]
pub struct SurveyArguments {
    /// Look for model, data, topics and subscriptions, say what is missing and how to make it, and stop
    #[arg(long)]
    pub check: bool,
    /// First make the topics and subscriptions that are missing
    #[arg(long)]
    pub create: bool,
    /// Partitions of the topics that --create makes
    #[arg(long, value_name = "N", default_value_t = 4, requires = "create")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
    /// Copies of each partition that --create makes [default: the cluster's]
    #[arg(long, value_name = "N", requires = "create")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub replication: Option<i32>,
    /// Time to acknowledge a message of the subscriptions that --create makes [default: 60, on an
    /// emulator 10]
    #[arg(long, value_name = "SECONDS", requires = "create")]
    #[arg(value_parser = clap::value_parser!(i32).range(10..=600))]
    pub ack_deadline: Option<i32>,
}

/// Whose subscriptions are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives requests, publishes results and dead letters.
    Consumer,
    /// Publishes requests, shows results.
    Page,
}
