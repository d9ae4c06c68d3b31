//! Working memory of passes, kept for the next pass.

use std::sync::{Arc, MutexGuard};

use records::lock::Mutex;

use crate::floats::Floats;
use crate::kernels::Functions;
use crate::shape::{FEED_FORWARD, HEAD_QKV, HIDDEN};

/// Planes grow in steps of this many rows, so that packs of similar size share them.
const ROW_STEP: usize = 256;

/// Blocks that no pass uses at the moment.
#[derive(Default)]
pub(crate) struct Scratch {
    planes: Arc<Shelf>,
    heads: Arc<Shelf>,
}

/// The activations of a pass, row-major, all threads' own business which parts they access.
pub(crate) struct Planes {
    /// Keeps the memory that the pointers point at.
    _lease: Lease,
    /// `[rows, HIDDEN]`
    pub(crate) hidden: *mut f32,
    /// `[rows, HIDDEN]`
    pub(crate) context: *mut f32,
    /// `[rows, HIDDEN]`
    pub(crate) sum: *mut f32,
    /// `[rows, FEED_FORWARD]`
    pub(crate) wide: *mut f32,
    /// `[texts, HIDDEN]`
    pub(crate) pooled: *mut f32,
}

// SAFETY: the pointers are into memory that the lease owns, which no thread holds on to.
unsafe impl Send for Planes {}
// SAFETY: nothing is accessed through a shared `Planes` but by unsafe code, which has to keep apart what
// threads access at the same time.
unsafe impl Sync for Planes {}

/// What one thread needs to compute a head.
pub(crate) struct HeadRoom {
    _lease: Lease,
    /// `[rows, HEAD_QKV]`
    pub(crate) qkv: *mut f32,
    /// For `Attention::keys`.
    pub(crate) keys: *mut f32,
    /// For `Attention::scores`.
    pub(crate) scores: *mut f32,
}

impl Scratch {
    /// Planes for `rows` rows that belong to `texts` texts.
    pub(crate) fn planes(&self, rows: usize, texts: usize) -> Planes {
        let room = rows.max(texts).next_multiple_of(ROW_STEP);
        let mut lease = Shelf::lease(&self.planes, room * (4 * HIDDEN + FEED_FORWARD));
        let (hidden, rest) = lease.floats_mut().split_at_mut(room * HIDDEN);
        let (context, rest) = rest.split_at_mut(room * HIDDEN);
        let (sum, rest) = rest.split_at_mut(room * HIDDEN);
        let (pooled, wide) = rest.split_at_mut(room * HIDDEN);
        Planes {
            hidden: hidden.as_mut_ptr(),
            context: context.as_mut_ptr(),
            sum: sum.as_mut_ptr(),
            wide: wide.as_mut_ptr(),
            pooled: pooled.as_mut_ptr(),
            _lease: lease,
        }
    }

    /// Room for a head of a pass of `rows` rows.
    pub(crate) fn head(&self, rows: usize, functions: &Functions) -> HeadRoom {
        let room = rows.next_multiple_of(ROW_STEP) * HEAD_QKV;
        let keys_len = functions.keys_len();
        let mut lease = Shelf::lease(&self.heads, room + keys_len + functions.scores_len());
        let (qkv, rest) = lease.floats_mut().split_at_mut(room);
        let (keys, scores) = rest.split_at_mut(keys_len);
        HeadRoom {
            qkv: qkv.as_mut_ptr(),
            keys: keys.as_mut_ptr(),
            scores: scores.as_mut_ptr(),
            _lease: lease,
        }
    }
}

/// Blocks of one kind.
#[derive(Default)]
struct Shelf {
    /// Shared by the passes that run at the same time.
    idle: Mutex<Vec<Floats>>,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Vec<Floats>> {
        self.idle.lock()
    }

    /// A block of at least `len` f32, with anything in it.
    fn lease(shelf: &Arc<Self>, len: usize) -> Lease {
        let mut idle = shelf.lock();
        let fitting = idle.iter().position(|floats| floats.len() >= len);
        // A block that is too small makes way for the new one, so that blocks do not pile up.
        let taken = fitting.map(|index| idle.swap_remove(index)).or_else(|| idle.pop());
        drop(idle);
        let floats = taken.filter(|floats| floats.len() >= len).unwrap_or_else(|| Floats::zeroed(len));
        Lease { floats: Some(floats), shelf: Arc::clone(shelf) }
    }
}

/// A block that returns to its shelf when dropped.
struct Lease {
    /// `None` only while dropping.
    floats: Option<Floats>,
    shelf: Arc<Shelf>,
}

impl Lease {
    fn floats_mut(&mut self) -> &mut [f32] {
        self.floats.as_mut().expect("a lease has its block until it is dropped").as_mut_slice()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shelf.lock().extend(self.floats.take());
    }
}
