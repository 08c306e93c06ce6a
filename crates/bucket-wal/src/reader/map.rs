//! [`Map`]: a finished segment in memory, with the feature `mmap`; without it there is none.

#[cfg(feature = "mmap")]
pub(crate) use bucket_vfs::Map;

#[cfg(not(feature = "mmap"))]
pub(crate) use self::none::Map;

#[cfg(not(feature = "mmap"))]
mod none {
    use std::ops::Deref;

    /// Nothing is mapped.
    #[derive(Debug)]
    pub(crate) enum Map {}

    impl Deref for Map {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            match *self {}
        }
    }
}
