//! Writes the seeds to `libfuzzer/corpus/<target>/`, where cargo-fuzz looks for them.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    for (target, seeds) in weir_fuzz::seeds::all() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("libfuzzer/corpus")
            .join(target);
        fs::create_dir_all(&directory)?;
        for (index, (name, bytes)) in seeds.into_iter().enumerate() {
            fs::write(directory.join(format!("{index:02}_{name}")), bytes)?;
        }
    }
    Ok(())
}
