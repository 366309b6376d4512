# Sourced by all that tests what `cargo test` leaves out: one selection, so that it is compiled once.
features=transport-kafka/real-broker,transport-pubsub/real-broker,fmnist-examples/real-broker,fmnist-examples/fail-points,fmnist-examples/browser,sink-sql/real-database
