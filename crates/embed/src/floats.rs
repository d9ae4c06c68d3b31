//! Blocks of f32 that the kernels read and write through pointers.

use std::alloc::{Layout, handle_alloc_error};

use memmap2::MmapMut;

/// Zeroed f32 in separate pages: aligned to 4096 bytes, in huge pages if the system allows.
pub(crate) struct Floats {
    map: MmapMut,
}

impl Floats {
    /// Space for `len` f32, at least one. Aborts the process without memory, as `Vec` does.
    pub(crate) fn zeroed(len: usize) -> Self {
        let layout = Layout::array::<f32>(len.max(1)).expect("blocks are far below the address space");
        let map = MmapMut::map_anon(layout.size()).unwrap_or_else(|_| handle_alloc_error(layout));
        // Huge pages only save TLB misses; a system without them is no error.
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage).ok();
        Self { map }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len() / size_of::<f32>()
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: the map is page-aligned, `len` f32 fit in it, and any bits are an f32.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len()) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        let len = self.len();
        // SAFETY: as in `as_slice`, borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), len) }
    }
}
