/** The status bar's item: how many jobs run and wait; nothing while nothing does. */

import * as React from 'react';

import { QUERY } from '../client';
import { CommandIDs } from '../tokens';
import { useKubeflow, usePreferences, useRows, useStanding } from './context';

const NONE = { ...QUERY, limit: 0 };

export function StatusItem(): React.JSX.Element | null {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const { counts } = useRows(client, NONE);
  const standing = useStanding(client);
  const shown = usePreferences().statusBar;
  const running = (counts.Running ?? 0) + (counts.Restarting ?? 0);
  const waiting = counts.Pending ?? 0;
  if (!shown || running + waiting === 0) {
    return null;
  }
  const cut = standing.state !== 'live';
  const text = [
    running ? trans._n('%1 job running', '%1 jobs running', running) : '',
    waiting ? trans._n('%1 waiting', '%1 waiting', waiting) : ''
  ];
  return (
    <button
      type="button"
      className={`kfx-Status${cut ? ' kfx-stale' : ''}`}
      title={trans.__('Cluster %1: show the Kubeflow panel', standing.cluster)}
      onClick={() => kf.execute(CommandIDs.panel)}
    >
      <span className="kfx-Status-dot" aria-hidden="true" /> {text.filter(Boolean).join(' · ')}
    </button>
  );
}
