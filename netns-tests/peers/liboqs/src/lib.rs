//! Nothing of its own: `cargo build` makes liboqs.a, and ../build-peers links that into liboqs.so.
