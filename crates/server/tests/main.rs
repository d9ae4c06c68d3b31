//! The services over real HTTP, on real PostgreSQL and with the real model.

use test_support as _;
