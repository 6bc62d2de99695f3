/** What rows of trials say of themselves, wherever they are shown: their colours, and whose they are, for context menus. */

import { trialEnded } from '../study';
import type { StudyHead, StudyTrial } from '../wire';

/** The phase whose sign and colour a trial's state has. */
const PHASES: Record<string, string> = { Created: 'Pending', Killed: 'Suspended', EarlyStopped: 'Suspended', MetricsUnavailable: 'Failed' };

export function phaseOf(state: string): string {
  return PHASES[state] ?? state;
}

/** Attributes by which commands find the trial of the row that a context menu was opened on. */
export function marksOf(head: StudyHead, trial: StudyTrial): Record<`data-${string}`, string | number> {
  return {
    'data-trial': trial.name,
    'data-number': trial.number,
    'data-state': trial.state,
    'data-underway': String(!trialEnded(trial)),
    'data-name': head.name,
    'data-namespace': head.namespace,
    'data-uid': head.uid
  };
}
