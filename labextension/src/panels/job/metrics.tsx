/** The metrics of a job, each as large as there is room. */

import * as React from 'react';

import { useKubeflow } from '../../components/context';
import { Empty } from '../../components/parts';
import { Plots } from '../../components/plot';
import { plotted } from '../../model';
import type { JobView } from '../../wire';

export function Metrics({ view }: { view: JobView | null }): React.JSX.Element {
  const { trans } = useKubeflow();
  if (!view || plotted(view).length === 0) {
    return (
      <Empty title={trans.__('No metrics yet')}>
        <p>{trans.__('Print them as name=value, for example:')}</p>
        <pre className="kfx-Pre">{'print(f"epoch={epoch} loss={loss:.4f}")'}</pre>
      </Empty>
    );
  }
  return (
    <>
      <Plots view={view} height={240} wide />
      <p className="kfx-Note">
        {trans.__('Draw over a part to look closer, click twice to see all again. With keys: arrows move, + and - zoom, 0 shows all.')}
      </p>
    </>
  );
}
