-- Earlier versions kept their migrations in sqlx's own table: what they made is there already.

-- A row for each message that was answered. `run` tells apart messages whose coordinates repeat.
CREATE TABLE IF NOT EXISTS results (
    seq {serial},
    run TEXT NOT NULL,
    id TEXT NOT NULL,
    transport TEXT NOT NULL,
    topic TEXT NOT NULL,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    model_version TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    start_idx BIGINT,
    end_idx BIGINT,
    images BIGINT NOT NULL,
    received_at TEXT NOT NULL,
    inferred_at TEXT NOT NULL,
    recorded_ms BIGINT NOT NULL,
    UNIQUE (id, run)
);

CREATE INDEX IF NOT EXISTS results_by_time ON results (recorded_ms);

-- A row for each image. `picture` has 784 grey bytes of an image that the message carried.
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT NOT NULL,
    run TEXT NOT NULL,
    image_index BIGINT NOT NULL,
    class BIGINT NOT NULL,
    label TEXT NOT NULL,
    probability {double} NOT NULL,
    top TEXT,
    picture {bytes},
    PRIMARY KEY (id, run, image_index),
    FOREIGN KEY (id, run) REFERENCES results (id, run) ON DELETE CASCADE
);

CREATE INDEX IF NOT EXISTS predictions_by_label ON predictions (label);
