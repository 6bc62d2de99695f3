/** What the server says in words of a fixed list, in the user's words: causes, phases, and what happened to a replica. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { clean } from '../format';
import type { Cause, Replica } from '../wire';

/** Two or three words for a cause; empty where the sentence beside it says all that there is to say. */
export function causeWord(trans: TranslationBundle, cause: Cause): string {
  const words: Record<Cause, string> = {
    Suspended: trans.__('suspended'),
    OperatorAbsent: trans.__('no operator'),
    QuotaExceeded: trans.__('over quota'),
    AdmissionRefused: trans.__('refused by policy'),
    InvalidJob: trans.__('invalid job'),
    LargerThanAnyMachine: trans.__('too large'),
    MachinesBusy: trans.__('machines busy'),
    InsufficientResources: trans.__('no room'),
    NoMachineAccepts: trans.__('no machine accepts it'),
    GangWaiting: trans.__('waits for its gang'),
    Unschedulable: trans.__('unschedulable'),
    VolumeMissing: trans.__('volume missing'),
    VolumeProvisioning: trans.__('volume being made'),
    VolumeMount: trans.__('volume not mounted'),
    ConfigMissing: trans.__('configuration missing'),
    ImagePull: trans.__('image not pulled'),
    CannotStart: trans.__('cannot start'),
    CrashLoop: trans.__('crash loop'),
    OutOfMemory: trans.__('out of memory'),
    PythonError: trans.__('error in the code'),
    PackagesNotInstalled: trans.__('packages not installed'),
    ExitCode: trans.__('exit code'),
    DeadlineExceeded: trans.__('deadline exceeded'),
    Evicted: trans.__('evicted'),
    Preempted: trans.__('preempted'),
    NodeLost: trans.__('machine lost'),
    NodeShutdown: trans.__('machine shut down'),
    Other: ''
  };
  return words[cause];
}

/** A phase of a job or a replica. */
export function phaseWord(trans: TranslationBundle, phase: string): string {
  const words: Record<string, string> = {
    Pending: trans.__('Pending'),
    Waiting: trans.__('Waiting'),
    Running: trans.__('Running'),
    Restarting: trans.__('Restarting'),
    Suspended: trans.__('Suspended'),
    Succeeded: trans.__('Succeeded'),
    Failed: trans.__('Failed'),
    Created: trans.__('Created'),
    Killed: trans.__('Stopped'),
    EarlyStopped: trans.__('Stopped early'),
    MetricsUnavailable: trans.__('No metric')
  };
  return words[phase] ?? phase;
}

/** What happened to a replica: `2 restarts`, `exit code 1`, `OOMKilled`. */
export function replicaFacts(trans: TranslationBundle, one: Replica): string[] {
  // A replica that counts as done may have been ended with the job; its code would only puzzle.
  const ended = one.phase !== 'Succeeded';
  return [
    one.restarts ? trans._n('%1 restart', '%1 restarts', one.restarts) : '',
    ended && one.exit_code ? trans.__('exit code %1', one.exit_code) : '',
    ended ? clean(one.reason).slice(0, 40) : ''
  ].filter(Boolean);
}

/** How an endpoint, or a version of it, is. */
export function stateWord(trans: TranslationBundle, state: string): string {
  const words: Record<string, string> = {
    Ready: trans.__('Ready'),
    Degraded: trans.__('Degraded'),
    Starting: trans.__('Starting'),
    Failed: trans.__('Failed')
  };
  return words[state] ?? state;
}
