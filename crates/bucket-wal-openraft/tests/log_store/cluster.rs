//! Three nodes of openraft in one process, each on a log store of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_wal::Wal;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, Config, Raft, RaftNetwork, RaftNetworkFactory, SnapshotPolicy};
use parking_lot::Mutex;

use crate::machine::Machine;
use crate::support::{Store, Types};

/// More than any machine takes; nothing waits for it to pass.
const BOUND: Option<Duration> = Some(Duration::from_secs(60));

/// The nodes that can be reached.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<BTreeMap<u64, Raft<Types>>>>);

/// The way to one node.
struct Way {
    net: Net,
    to: u64,
}

type Answer<T, E = RaftError<u64>> = Result<T, RPCError<u64, BasicNode, E>>;

impl Way {
    #[expect(clippy::result_large_err, reason = "openraft's own")]
    fn node<E: std::error::Error>(&self) -> Answer<Raft<Types>, E> {
        let unreachable = || RPCError::Unreachable(Unreachable::new(&NetworkError::new(&Down)));
        self.net.0.lock().get(&self.to).cloned().ok_or_else(unreachable)
    }

    fn remote<E: std::error::Error>(&self, error: E) -> RPCError<u64, BasicNode, E> {
        RPCError::RemoteError(RemoteError::new(self.to, error))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the node is down")]
struct Down;

impl Net {
    /// The node that the first one takes for the leader.
    async fn leader(&self) -> (u64, Raft<Types>) {
        let first = self.0.lock().values().next().cloned().unwrap();
        let wait = first.wait(BOUND);
        let known = wait.metrics(|now| self.is_up(now.current_leader), "a leader").await.unwrap();
        let id = known.current_leader.unwrap();
        (id, self.0.lock()[&id].clone())
    }

    fn is_up(&self, id: Option<u64>) -> bool {
        id.is_some_and(|id| self.0.lock().contains_key(&id))
    }
}

impl RaftNetworkFactory<Types> for Net {
    type Network = Way;

    async fn new_client(&mut self, to: u64, _: &BasicNode) -> Way {
        Way { net: self.clone(), to }
    }
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Answer<AppendEntriesResponse<u64>> {
        self.node()?.append_entries(request).await.map_err(|error| self.remote(error))
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Answer<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>> {
        self.node()?.install_snapshot(request).await.map_err(|error| self.remote(error))
    }

    async fn vote(&mut self, request: VoteRequest<u64>, _: RPCOption) -> Answer<VoteResponse<u64>> {
        self.node()?.vote(request).await.map_err(|error| self.remote(error))
    }
}

/// Starts a node on what is in its directory, with an empty state machine.
async fn start(net: &Net, dir: &Path, id: u64) -> (Raft<Types>, Store, Machine) {
    let options = Wal::options().segment_size(ByteCount::kib(64)).unwrap();
    let (store, _) = Store::open_with(options, dir.join(id.to_string())).unwrap();
    let config = Config {
        heartbeat_interval: 300,
        election_timeout_min: 2_000,
        election_timeout_max: 4_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(50),
        max_in_snapshot_log_to_keep: 10,
        ..Config::default()
    };
    let (config, machine) = (Arc::new(config.validate().unwrap()), Machine::default());
    let raft = Raft::new(id, config, net.clone(), store.clone(), machine.clone()).await.unwrap();
    net.0.lock().insert(id, raft.clone());
    (raft, store, machine)
}

#[test]
fn three_nodes_agree_and_one_that_was_away_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let net = Net::default();
        let mut nodes = BTreeMap::new();
        for id in 1..=3 {
            nodes.insert(id, start(&net, dir.path(), id).await);
        }
        let members: BTreeMap<_, _> = (1..=3).map(|id| (id, BasicNode::default())).collect();
        nodes[&1].0.initialize(members).await.unwrap();
        let mut expected = Vec::new();
        write(&net, &mut expected, 30).await;

        // One goes, and the others go on until its entries are only in a snapshot.
        let away = if net.leader().await.0 == 3 { 2 } else { 3 };
        let (raft, store, _) = nodes.remove(&away).unwrap();
        net.0.lock().remove(&away);
        raft.shutdown().await.unwrap();
        drop(raft);
        store.close().unwrap();
        write(&net, &mut expected, 130).await;
        let (raft, mut store, machine) = start(&net, dir.path(), away).await;
        let (_, leader) = net.leader().await;
        let applied = leader.metrics().borrow().last_applied.map(|last| last.index);
        raft.wait(BOUND).applied_index_at_least(applied, "all of it").await.unwrap();
        assert_eq!(agreed(&machine), expected);
        assert!(store.get_log_state().await.unwrap().last_purged_log_id.is_some());

        for (raft, store, machine) in nodes.into_values() {
            raft.wait(BOUND).applied_index_at_least(applied, "all of it").await.unwrap();
            assert_eq!(agreed(&machine), expected);
            raft.shutdown().await.unwrap();
            store.close().unwrap();
        }
        raft.shutdown().await.unwrap();
    });
}

async fn write(net: &Net, expected: &mut Vec<String>, count: usize) {
    for _ in 0..count {
        let line = format!("line {} {}", expected.len(), "x".repeat(2_000));
        loop {
            match net.leader().await.1.client_write(line.clone()).await {
                Ok(_) => break,
                // On a slow machine another node may have taken over.
                Err(error) if error.forward_to_leader().is_some() => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
        expected.push(line);
    }
}

/// What was agreed on; a line that was sent to a second leader may be there twice.
fn agreed(machine: &Machine) -> Vec<String> {
    let mut lines = machine.lines();
    lines.dedup();
    lines
}
