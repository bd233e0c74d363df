# The recipes are the stages of .ci/run; `just ci` runs all that a change must pass.

_list:
    @just --list

# All stages, as CI runs them.
ci:
    bash .ci/run

# The README's test command, with a stock Envoy for the tests that need one.
test:
    bash .ci/run tests

# Every fuzz target over inputs that are made of its corpus, for so many seconds each.
fuzz SECONDS="60":
    MESH_FUZZ_SECONDS={{ SECONDS }} bash .ci/run fuzz

# Random routes and requests through a stock Envoy and through us, for so many seconds.
oracle SECONDS="1200":
    MESH_ENVOY="$(bash examples/interop/envoy.sh install)" && export MESH_ENVOY && cargo run -p oracle -- --seconds {{ SECONDS }}

# Formatting, without changing anything.
fmt:
    bash .ci/run fmt

# Clippy over all targets and features; warnings are errors.
clippy:
    bash .ci/run clippy

# The documentation; warnings are errors.
doc:
    bash .ci/run doc

# Duplicate dependencies, licences, sources.
deny:
    bash .ci/run deny

# What would be published, built as users would get it.
package:
    bash .ci/run package

# The data plane without its optional parts.
no-default-features:
    bash .ci/run no-default-features

# The size of the control plane against the rest.
budget:
    bash .ci/run budget

# No paths of somebody's machine in tracked files.
strays:
    bash .ci/run strays

# Bookinfo's tour, and the same without its rules, which must fail.
tour:
    bash .ci/run tour

# What the mesh adds to somebody's service: lines, packages, seconds.
outside:
    bash .ci/run outside

# Our client against the plain one.
bench:
    bash .ci/run bench

# What a large configuration adds to the instructions of a call; needs valgrind.
instructions:
    cargo run --release -p benches -- instructions

# Against a real peer, `istiod` or `envoy`; here a missing peer is a failure.
interop PEER:
    @just _interop-{{ PEER }}

_interop-istiod:
    bash .ci/istiod.sh

_interop-envoy:
    MESH_ENVOY="$(bash examples/interop/envoy.sh install)" && export MESH_ENVOY && cargo test -p mesh-control-plane --test envoy -- --ignored
