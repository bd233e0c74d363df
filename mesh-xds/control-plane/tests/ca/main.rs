//! The certificate authority: whom it signs for, what it signs, and where it comes from.

mod files;
mod kit;
mod service;
mod sign;
mod tokens;
mod written;
