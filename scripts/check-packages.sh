#!/usr/bin/env bash
# Packs the crates that are made to be depended on, as a registry would get them, then builds and runs a
# program from outside with nothing but the packed files and the least features.
#
#   scripts/check-packages.sh          the classifier and a pipeline in memory, which need only Rust
#   scripts/check-packages.sh --all    Kafka, Pub/Sub and the databases, too: all five compile
#
# Packages are left in the target folder's `package`, for `tar tf`.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
crates=(stream-inference fmnist-core transport-kafka transport-pubsub sink-sql)
used=("${crates[@]:0:2}")
[ "${1:-}" != --all ] || used=("${crates[@]}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

rm -f "$CARGO_TARGET_DIR"/package/*.crate
cargo package --quiet --locked --no-verify --allow-dirty "${crates[@]/#/--package=}"

for crate in "${crates[@]}"; do
    packed=("$CARGO_TARGET_DIR/package/$crate"-*.crate)
    mkdir "$folder/$crate"
    tar -xzf "${packed[0]}" -C "$folder/$crate" --strip-components=1
    for file in README.md LICENSE-MIT LICENSE-APACHE src/lib.rs; do
        [ -s "$folder/$crate/$file" ] || { echo "$crate: its package has no $file" >&2; exit 1; }
    done
    [ ! -e "$folder/$crate/tests" ] || { echo "$crate: its package has tests" >&2; exit 1; }
    echo "$crate: $(($(stat -c %s "${packed[0]}") / 1024)) KiB packed"
done

# The same versions of everything else, and the same profile as examples/outside: what one has compiled
# serves the other.
mkdir -p "$folder/outside/src"
cp Cargo.lock "$folder/outside"
{
    printf '%s\n' '[workspace]' '[package]' 'name = "outside-of-packages"' 'edition = "2024"' '[dependencies]' \
        'fmnist-core = { version = "0.1", default-features = false, features = ["base"] }' \
        'stream-inference = "0.1"' 'tokio = { version = "1.50", features = ["macros", "rt"] }'
    [ ${#used[@]} -eq 2 ] || printf '%s = "0.1"\n' "${used[@]:2}"
    printf '%s\n' '[profile.dev.package."*"]' 'debug = false' '[patch.crates-io]'
    for crate in "${used[@]}"; do
        printf '%s = { path = "../%s" }\n' "$crate" "$crate"
    done
} >"$folder/outside/Cargo.toml"
cat >"$folder/outside/src/main.rs" <<'END'
use fmnist_core::{Classifier, Image};
use stream_inference::{
    codec::Json,
    pipeline::{Pipeline, PipelineConfig},
    predict::{ModelIdentity, PredictError, function},
    transport::{Outbound, memory::MemoryBroker},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let trouser = Image::from_fn(|row, column| {
        let belt = (3..9).contains(&row) && (9..19).contains(&column);
        let legs = (9..25).contains(&row) && matches!(column, 9..=12 | 15..=18);
        if belt || legs { 200 } else { 0 }
    });
    let classifier = Classifier::pretrained()?;
    let predictions = classifier.classify(&[trouser])?;
    assert_eq!(classifier.labels()[predictions[0].class], "Trouser");

    let model = function(ModelIdentity::of_code("doubled", "1"), |batch: &[f64]| {
        Ok::<_, PredictError>(batch.iter().map(|x| 2.0 * x).collect())
    });
    let broker = MemoryBroker::new("NUMBERS");
    broker.send(Outbound { payload: "21".into(), ..Outbound::default() });
    let settled = async {
        while broker.unsettled_messages() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let codec = Json::<f64, f64>::new();
    Pipeline::new(broker.consumer(), model, codec, PipelineConfig::default()).run(settled).await?;
    assert_eq!(broker.results().len(), 1);
    println!("a program from outside classifies, and answers messages");
    Ok(())
}
END
cd "$folder/outside"
cargo run --quiet
echo "it has $(cargo tree --edges normal,build --prefix none | awk '{ print $1 }' | sort -u | wc -l) crates, itself included"
