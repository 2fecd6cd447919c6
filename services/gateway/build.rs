//! Has the page's folder embedded anew when a file comes or goes; changes within a file are seen without it.

fn main() {
    println!("cargo::rerun-if-changed=assets");
}
