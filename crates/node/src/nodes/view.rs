//! Who has what, as this node last heard, and what its fair share is.
//!
//! A node is known to the others by its *seat*: a lease of a number beyond the partitions. So who has
//! nothing yet is seen, and given its share.

use std::collections::BTreeMap;

use model::{Timestamp, limits};
use store::{Lease, NodeName};

/// The first seat's number.
pub(crate) const SEATS: u32 = limits::PARTITIONS;

/// The leases of a store at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Every lease that had not run out, by partition or seat.
    live: BTreeMap<u32, Lease>,
    /// Who had a seat before, where nobody has it now.
    left: BTreeMap<u32, NodeName>,
    /// Partitions that this node has. Another process of its name may have others.
    pub(crate) mine: Vec<u32>,
    /// Of those, the ones that it does not give away.
    pub(crate) own: Vec<u32>,
}

/// A node, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seated {
    pub(crate) lease: Lease,
    pub(crate) partitions: Vec<u32>,
}

impl View {
    pub(crate) fn new(leases: Vec<Lease>, now: Timestamp) -> Self {
        let (live, over): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| lease.until > now);
        let over = over.into_iter().filter(|lease| lease.partition >= SEATS);
        Self {
            live: live.into_iter().map(|lease| (lease.partition, lease)).collect(),
            left: over.map(|lease| (lease.partition, lease.node)).collect(),
            mine: Vec::new(),
            own: Vec::new(),
        }
    }

    /// Who has a partition.
    pub(crate) fn owner(&self, partition: u32) -> Option<&Lease> {
        self.live.get(&partition)
    }

    /// Partitions that nobody has, or that a node of this name has without knowing: an earlier run.
    pub(crate) fn free(&self, node: &NodeName, held: &[Lease]) -> Vec<u32> {
        let known = |partition| held.iter().any(|lease| lease.partition == partition);
        let is_free = |partition: &u32| {
            let owner = self.live.get(partition);
            owner.is_none_or(|owner| owner.node == *node) && !known(*partition)
        };
        (0..limits::PARTITIONS).filter(is_free).collect()
    }

    /// The seats a node may take, those that it had before first.
    pub(crate) fn free_seats(&self, node: &NodeName) -> Vec<u32> {
        let seats = SEATS..SEATS + limits::NODES_MAX;
        let mut free: Vec<u32> = seats
            .filter(|seat| self.live.get(seat).is_none_or(|lease| lease.node == *node))
            .collect();
        free.sort_by_key(|seat| {
            let had = self.live.get(seat).map(|lease| &lease.node);
            let had = had.or_else(|| self.left.get(seat));
            had != Some(node)
        });
        free
    }

    /// All nodes, by name.
    pub(crate) fn seated(&self) -> Vec<Seated> {
        let mut by_name: BTreeMap<&NodeName, Seated> = BTreeMap::new();
        for lease in self.live.range(SEATS..).map(|(_, lease)| lease) {
            let seated = Seated { lease: lease.clone(), partitions: Vec::new() };
            by_name.entry(&lease.node).or_insert(seated);
        }
        for lease in self.live.range(..SEATS).map(|(_, lease)| lease) {
            if let Some(seated) = by_name.get_mut(&lease.node) {
                seated.partitions.push(lease.partition);
            }
        }
        by_name.into_values().collect()
    }

    /// How many partitions a node shall have: all have as many, give or take one, and the shares
    /// sum up to all partitions. None for one without a seat.
    pub(crate) fn share(&self, node: &NodeName) -> usize {
        let seated = self.seated();
        let Some(rank) = seated.iter().position(|other| other.lease.node == *node) else {
            return 0;
        };
        let all = usize::try_from(limits::PARTITIONS).expect("a few fit");
        all / seated.len() + usize::from(rank < all % seated.len())
    }

    /// When the first lease of another node runs out, should it not be renewed.
    pub(crate) fn next_end(&self, node: &NodeName) -> Option<Timestamp> {
        let others = self.live.values().filter(|lease| lease.node != *node);
        others.map(|lease| lease.until).min()
    }

    /// Whether all has the same owners in both.
    pub(crate) fn has_owners_of(&self, other: &Self) -> bool {
        let owners = |view: &Self| -> Vec<(u32, u64, String)> {
            let owner = |lease: &Lease| (lease.partition, lease.epoch, lease.address.clone());
            view.live.values().map(owner).collect()
        };
        self.own == other.own && self.mine == other.mine && owners(self) == owners(other)
    }

    /// The same view after this node lost everything.
    pub(crate) fn without(&self, node: &NodeName) -> Self {
        let mut view = self.clone();
        view.live.retain(|_, lease| lease.node != *node);
        view.mine.clear();
        view.own.clear();
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(partition: u32, node: &str, until: u64) -> Lease {
        Lease {
            partition,
            node: node.parse().unwrap(),
            address: format!("http://{node}"),
            epoch: 1,
            until: Timestamp::from_millis(until),
        }
    }

    fn name(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn view(nodes: &[&str], owned: &[(u32, &str)]) -> View {
        let seats = nodes.iter().zip(SEATS..).map(|(node, seat)| lease(seat, node, 10));
        let owned = owned.iter().map(|(partition, node)| lease(*partition, node, 10));
        View::new(seats.chain(owned).collect(), Timestamp::from_millis(5))
    }

    #[test]
    fn shares_differ_by_one_and_sum_up_to_all() {
        let names: Vec<String> = (0..40).map(|n| format!("n{n:02}")).collect();
        for count in 1..names.len() {
            let nodes: Vec<&str> = names[..count].iter().map(String::as_str).collect();
            let view = view(&nodes, &[]);
            let shares: Vec<usize> = nodes.iter().map(|node| view.share(&name(node))).collect();
            assert_eq!(shares.iter().sum::<usize>(), 16, "{count}");
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{count}");
        }
        assert_eq!(view(&["a"], &[]).share(&name("b")), 0, "without a seat");
    }

    #[test]
    fn who_finds_no_seat_has_no_share() {
        let names: Vec<String> = (0..limits::NODES_MAX).map(|n| format!("n{n:02}")).collect();
        let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(view(&nodes[1..], &[]).free_seats(&name("late")).len(), 1);
        let full = view(&nodes, &[]);
        assert!(full.free_seats(&name("late")).is_empty());
        assert_eq!(full.share(&name("late")), 0);
        assert_eq!(full.free_seats(&name("n07")), [SEATS + 7], "its own, of an earlier run");
    }

    #[test]
    fn what_ran_out_is_free_and_what_an_earlier_run_had_is_taken_at_once() {
        let mut all = vec![lease(0, "a", 10), lease(1, "b", 10), lease(2, "b", 4)];
        all.push(lease(SEATS + 3, "a", 4));
        let view = View::new(all, Timestamp::from_millis(5));
        assert_eq!(view.owner(1).unwrap().node, name("b"));
        assert_eq!(view.owner(2), None);
        let held = [lease(0, "a", 10)];
        assert_eq!(view.free(&name("a"), &held), (2..16).collect::<Vec<_>>());
        assert_eq!(view.free(&name("a"), &[])[0], 0, "a run before this one had it");
        assert_eq!(view.free_seats(&name("a"))[0], SEATS + 3, "the seat it had");
        assert_eq!(view.next_end(&name("a")), Some(Timestamp::from_millis(10)));
        assert_eq!(view.without(&name("a")).owner(0), None);
    }
}
