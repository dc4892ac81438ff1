//! Every limit of the platform, in one place. `docs/limits.md` tells what happens at each.

use core::time::Duration;

/// Classes in a price list.
pub const CLASSES_MAX: usize = 16;
/// Length of a class name.
pub const CLASS_NAME_BYTES_MAX: usize = 32;
/// Length of a function's or tenant's name.
pub const NAME_BYTES_MAX: usize = 64;
/// Payload of a call and of its answer, unless the operator sets another cap.
pub const PAYLOAD_BYTES_DEFAULT: usize = 16 << 20;
/// Silence of a client before a request, or inside the head of one.
pub const HEAD_SILENCE_MAX: Duration = Duration::from_secs(75);
/// Silence of a client inside a request's body.
pub const BODY_SILENCE_MAX: Duration = Duration::from_secs(30);
/// Logs kept of one invocation; what comes after is counted and dropped.
pub const LOG_BYTES_MAX: usize = 256 << 10;
/// A code package as it is uploaded.
pub const PACKAGE_BYTES_MAX: usize = 256 << 20;
/// A code package unpacked.
pub const UNPACKED_BYTES_MAX: u64 = 1 << 30;
/// Files in a code package.
pub const PACKAGE_FILES_MAX: usize = 20_000;
/// Environment variables of a function, names and values together.
pub const ENVIRONMENT_BYTES_MAX: usize = 32 << 10;
/// Time limit of a function that states none.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Shortest time limit a function may state.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Longest time limit a function may state.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Functions that wait for each other in one call chain.
pub const CALL_DEPTH_MAX: u32 = 32;
/// Attempts of an asynchronous call, the first one included.
pub const ASYNC_ATTEMPTS_MAX: u32 = 3;
/// Time before the first retry of an asynchronous call; it doubles with each.
pub const ASYNC_BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest time between two attempts of an asynchronous call.
pub const ASYNC_BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);
/// Work one shard holds before it refuses more (`overloaded`).
pub const SHARD_QUEUE_MAX: usize = 100_000;
/// Functions not finished on one machine under a policy that starts all of them at once.
pub const SHARING_ADMISSION_DEFAULT: usize = 256;
/// Invocations under way in one node, counted for each class with those above it; above, refused
/// (`overloaded`).
pub const IN_FLIGHT_MAX: usize = 100_000;
/// Wasm functions that take memory stop by themselves where all functions together hold so much more
/// than a machine's memory. Before that, the planner holds or ends them.
pub const MEMORY_STOP_BYTES: u64 = 32 << 20;
/// One that cannot stop, in the middle of an instruction that fills memory, loses its memory and
/// fails where there is so much more still.
pub const MEMORY_SPOIL_BYTES: u64 = 32 << 20;
/// What functions together hold at most, for a moment, beyond a machine's memory: the two above, and
/// what four cores touch in the time it takes to notice.
pub const MEMORY_OVER_BYTES_MAX: u64 = 128 << 20;
/// Times a function killed for memory is started again.
pub const KILL_RESTARTS_MAX: u32 = 3;
/// Linear memory of one Wasm instance.
pub const WASM_MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Memory that a suspended Wasm function may have changed since its beginning.
pub const WASM_IMAGE_BYTES_MAX: u64 = 1 << 30;
/// The swap file of Wasm functions.
pub const SWAP_BYTES_MAX: u64 = 1 << 44;
/// Elements of one table of one Wasm instance.
pub const WASM_TABLE_ELEMENTS_MAX: usize = 1_000_000;
/// Threads that run Wasm functions; functions above wait for one.
pub const WASM_THREADS_MAX: usize = 256;
/// Processes and threads in one sandbox.
pub const SANDBOX_PIDS_MAX: u64 = 512;
/// Open files of one process in a sandbox.
pub const SANDBOX_FILES_MAX: u64 = 1024;
/// Bytes a sandbox may hold in its private `/tmp`.
pub const SANDBOX_TMP_BYTES_MAX: u64 = 512 << 20;
/// Finished invocations whose details are kept; sums are kept for ever.
pub const INVOCATIONS_KEPT_DEFAULT: u64 = 200_000;
/// Records of ended invocations that wait to be written to a recording; above, they are left out.
pub const RECORDING_PENDING_MAX: usize = 65_536;
/// Length of a recording, unless the operator sets another; there it ends.
pub const RECORDING_BYTES_DEFAULT: u64 = 1 << 30;
/// Entries of one page of any list.
pub const PAGE_MAX: usize = 1_000;
/// Asynchronous calls accepted and not settled; above, new ones are refused (`overloaded`).
pub const ASYNC_PENDING_MAX: u64 = 100_000;
/// Length of a function's description.
pub const DESCRIPTION_BYTES_MAX: usize = 1024;
/// Bytes of a payload that an execution's state holds itself; larger ones are kept apart and named
/// by their hash.
pub const PAYLOAD_INLINE_BYTES_MAX: usize = 32 << 10;
/// Bytes of a memory image from which on it is written before the step that refers to it, and not
/// with it, where the store is quicker so.
pub const IMAGE_STAGED_BYTES_MIN: usize = 256 << 10;
/// How long what was written before its step is kept without one: a step that was not committed by
/// then will not be.
pub const STAGED_PROMISED_FOR: Duration = Duration::from_secs(3_600);
/// Such blobs that wait for their steps, from which on those that are older are forgotten.
pub const STAGED_PROMISED_MANY: usize = 1_024;
/// Files with room on the disk that are made ahead for such blobs.
pub const STAGED_SPARES_MAX: usize = 4;
/// Room of one such file; a larger blob is written to a file that has none yet.
pub const STAGED_ROOM_BYTES_MAX: usize = 4 << 20;
/// Bytes of payloads that an execution's state holds itself in all; above, only payloads of
/// [`PAYLOAD_INLINE_BYTES_FULL`] are taken in.
pub const STATE_INLINE_BYTES_MAX: u64 = 256 << 10;
/// Bytes of a payload that is still held inline where the state holds
/// [`STATE_INLINE_BYTES_MAX`] already.
pub const PAYLOAD_INLINE_BYTES_FULL: usize = 256;
/// Executions that one node keeps in memory while nothing happens to them; the store has all.
pub const EXECUTIONS_HOT_MAX: usize = 4_096;
/// Things that one execution has asked for and that have not ended, or whose end it has not seen.
pub const OPEN_OPS_MAX: usize = 4_096;
/// Events of one execution that came before it waited for them (signals, answers to tokens).
pub const KEPT_EVENTS_MAX: usize = 1_000;
/// Ids of signals that one execution remembers to know a repeated one.
pub const SIGNAL_IDS_MAX: usize = 256;
/// Callback tokens that ended and whose end an execution can still tell apart.
pub const CLOSED_TOKENS_MAX: usize = 64;
/// Length of a signal's name.
pub const SIGNAL_NAME_BYTES_MAX: usize = 128;
/// Length of an execution's name. (AWS's `machine:name` has 161 characters.)
pub const EXECUTION_NAME_BYTES_MAX: usize = 656;
/// Length of a reason that a person or program states (cancel, pause), and of one message.
pub const REASON_BYTES_MAX: usize = 40 << 10;
/// Length of an execution's custom status.
pub const CUSTOM_STATUS_BYTES_MAX: usize = 16 << 10;
/// History records of one execution since it began (anew).
pub const HISTORY_RECORDS_MAX: u64 = 1_000_000;
/// Late events that are recorded in one execution's history; further ones are told to their sender
/// only.
pub const LATE_RECORDS_MAX: u32 = 100;
/// Times that a turn is begun again after it was lost without an end.
pub const TURN_RESTARTS_MAX: u32 = 3;
/// Turns of an interpreter that follow each other without one wait between them.
pub const TURNS_UNWAITED_MAX: u32 = 10_000;
/// Longest life of an execution, and its life where nothing shorter is stated.
pub const EXECUTION_TIMEOUT_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Time for which an execution that has ended is kept, unless the operator sets another.
pub const EXECUTIONS_KEPT_DEFAULT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Functions in one sequence.
pub const SEQUENCE_STEPS_MAX: usize = 1_000;
/// Steps of executions in one commit.
pub const COMMIT_ITEMS_MAX: usize = 1_000;
/// Partitions that executions are spread over; each is owned by one node at a time.
pub const PARTITIONS: u32 = 16;
/// Nodes that share one store.
pub const NODES_MAX: u32 = 64;
/// How long a node's leases hold after it was last heard of, where the operator states nothing.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(10);
/// Shortest such time: a store that is slow for a moment must not cost a node its partitions.
pub const LEASE_MIN: Duration = Duration::from_secs(2);
/// Longest such time.
pub const LEASE_MAX: Duration = Duration::from_secs(300);
/// Requests that one node has under way to others. Further ones wait for their turn.
pub const HOPS_MAX: usize = 512;
/// Waits for executions that other nodes have, of one node. Further ones wait for their turn.
pub const HOP_WAITS_MAX: usize = 1_024;
/// How long a request waits, beyond the time of a lease, for an execution whose node is gone.
pub const HOP_PATIENCE: Duration = Duration::from_secs(5);
/// Requests of state machines under way to services outside, of one node. Further ones wait.
pub const OUTSIDE_CALLS_MAX: usize = 256;
/// How long a service outside has for its answer.
pub const OUTSIDE_CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes of such an answer.
pub const OUTSIDE_ANSWER_BYTES_MAX: usize = 16 << 20;
/// Elements inside of each other in such an answer.
pub const OUTSIDE_ANSWER_DEPTH_MAX: usize = 128;
/// Bytes of the model of an AWS service, unpacked; the longest there is has 5 MiB.
pub const AWS_MODEL_BYTES_MAX: u64 = 32 << 20;
/// Models of AWS services that a server keeps; beyond it all are forgotten, and read again when they are
/// asked for.
pub const AWS_MODELS_KEPT_MAX: usize = 64;
/// Problems that are told of the parameters of an action; of more their number is.
pub const AWS_PROBLEMS_TOLD_MAX: usize = 20;
/// Bytes of the pattern of a rule for events.
pub const EVENT_PATTERN_BYTES_MAX: usize = 4 << 10;
/// Functions that one rule calls with an event.
pub const EVENT_TARGETS_MAX: usize = 5;
/// Events that are put together.
pub const EVENT_ENTRIES_MAX: usize = 10;
/// Bytes of the files that one Map state reads its items from.
pub const ASL_ITEMS_BYTES_MAX: usize = 128 << 20;
/// Bytes at which a file with results of a Map state is ended and another one begun.
pub const ASL_RESULT_FILE_BYTES: usize = 64 << 20;
/// Bytes of an input, output or result of a state, unless the operator sets another cap.
pub const ASL_DATA_BYTES_DEFAULT: usize = 256 << 10;
/// Bytes of all variables of one execution of a state machine together. One of them, and what one state
/// assigns, may have as many bytes as an output.
pub const ASL_VARIABLES_BYTES_MAX: usize = 10 << 20;
/// The same where AWS's quotas do not hold.
pub const ASL_VARIABLES_BYTES_PLATFORM: usize = 64 << 20;
/// Seconds that an EXPRESS execution may take.
pub const EXPRESS_SECONDS_MAX: u64 = 300;
/// Published versions of a state machine.
pub const STATE_MACHINE_VERSIONS_MAX: usize = 1_000;
/// Aliases of a state machine.
pub const STATE_MACHINE_ALIASES_MAX: usize = 100;
/// Events of one execution of a state machine, unless the operator sets another cap.
pub const ASL_EVENTS_DEFAULT: u64 = 25_000;
/// Events of one execution of a state machine where AWS's quotas do not hold.
pub const ASL_EVENTS_MAX: u64 = 1_000_000;
/// States that one step of a state machine enters; the rest goes on in the next step.
pub const ASL_TRANSITIONS_PER_STEP: u32 = 10_000;
/// Iterations of an inline Map state that run at the same time.
pub const ASL_INLINE_CONCURRENCY_MAX: usize = 100;
/// Child executions of a distributed Map state that run at the same time.
pub const ASL_DISTRIBUTED_CONCURRENCY_MAX: usize = 1_000;
/// Definitions that a server keeps as they were read, for EXPRESS executions; beyond it all are read
/// again.
pub const ASL_DEFINITIONS_KEPT_MAX: usize = 256;
/// Map runs of which a node remembers to which execution they belong; beyond it all are forgotten, and
/// looked up again when they are asked for.
pub const MAP_RUNS_KNOWN_MAX: usize = 10_000;
/// Log groups of a tenant.
pub const LOG_GROUPS_MAX: usize = 10_000;
/// A file of a log group; a group has two, and the older one goes when the newer one is full.
pub const LOG_FILE_BYTES: u64 = 8 << 20;
/// What the log groups of a tenant have on the disk together; the oldest file goes beyond that.
pub const LOG_GROUPS_BYTES_MAX: u64 = 512 << 20;
/// What waits to be written to log groups; events beyond that are lost, and counted.
pub const LOG_GROUPS_BYTES_WAITING_MAX: usize = 16 << 20;
/// Log events that are told at once.
pub const LOG_EVENTS_PAGE_MAX: usize = 10_000;
/// How long after its end an execution of a state machine can be redriven, where AWS's quotas hold.
pub const REDRIVE_PERIOD: Duration = Duration::from_hours(14 * 24);
/// How long after its start, where they hold.
pub const REDRIVE_EXECUTION_TIME_MAX: Duration = Duration::from_hours(365 * 24);
/// Tokens of requests that an execution was redriven with lately, which are known again.
pub const REDRIVE_TOKENS_MAX: usize = 10;
/// How long they are known.
pub const REDRIVE_TOKEN_TIME: Duration = Duration::from_mins(15);
/// Executions of which a node knows them; beyond it all are forgotten.
pub const REDRIVE_TOKENS_KNOWN_MAX: usize = 10_000;
/// Map runs of one execution whose limits are still shown when they have ended; of older ones zeros are.
pub const MAP_RUNS_LIMITS_KNOWN_MAX: usize = 32;
