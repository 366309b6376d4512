# Sourced by test-brokers.sh and chaos.sh: one selection for both, so that everything is compiled once.
features=transport-kafka/real-broker,transport-pubsub/real-broker,fmnist-examples/real-broker,fmnist-examples/fail-points,sink-sql/real-database
