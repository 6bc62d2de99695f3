/** The side panel "Kubeflow": the cluster's line on top, and a section for each family. */

import { ReactWidget, SidePanel } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { KubeflowProvider, useKubeflow, useStanding } from '../components/context';
import { JobList } from '../components/jobs';
import { StudyList } from '../components/studies';
import { kubeflowIcon } from '../icons';
import { CommandIDs } from '../tokens';
import type { IKubeflow, Section } from '../tokens';

/** A React component with our context as a widget. */
export function widgetOf(kf: IKubeflow, body: React.ReactElement): ReactWidget {
  const widget = ReactWidget.create(<KubeflowProvider value={kf}>{body}</KubeflowProvider>);
  widget.addClass('kfx-Widget');
  return widget;
}

export class KubeflowPanel extends SidePanel {
  constructor(kf: IKubeflow) {
    super({ translator: kf.translator });
    this.id = 'kf-panel';
    this.title.icon = kubeflowIcon;
    this.title.caption = kf.trans.__('Kubeflow: training jobs on your cluster');
    this.addClass('kfx-Panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', kf.trans.__('Kubeflow'));
    this.header.addWidget(widgetOf(kf, <Header />));
    kf.sections.forEach(section => this.show_(section));
    kf.sectionsChanged.connect((_, section) => this.show_(section));
  }

  /** Who opens the panel with a key goes on with keys. */
  protected override onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    const list = this.node.querySelector<HTMLElement>('.kfx-Jobs-list');
    (list ?? this.node.querySelector<HTMLElement>('.kfx-Header button'))?.focus();
  }

  private show_(section: Section): void {
    const widget = section.create();
    widget.id = `kf-section-${section.id}`;
    const place = [...this._ranks, section.rank].sort((a, b) => a - b).indexOf(section.rank);
    this._ranks.push(section.rank);
    this.insertWidget(place, widget);
  }

  private readonly _ranks: number[] = [];
}

function Header(): React.JSX.Element {
  const kf = useKubeflow();
  const { trans, client } = kf;
  const standing = useStanding(client);
  const words: Record<string, string> = {
    live: trans.__('connected'),
    connecting: trans.__('connecting'),
    stopped: trans.__('asleep'),
    unreachable: trans.__('unreachable'),
    refused: trans.__('no access'),
    offline: trans.__('server offline'),
    absent: trans.__('not installed'),
    idle: ''
  };
  return (
    <div className="kfx kfx-Header">
      <span className={`kfx-Dot kfx-Dot-${standing.state}`} aria-hidden="true" />
      <button
        type="button"
        className="kfx-Header-text"
        aria-label={trans.__('Cluster %1: change it', standing.cluster)}
        title={[standing.message, trans.__('Change the cluster')].filter(Boolean).join('\n')}
        onClick={() => kf.execute(CommandIDs.useCluster)}
      >
        <b>
          {standing.cluster || trans.__('Kubeflow')} <i aria-hidden="true">▾</i>
        </b>
        <span className="kfx-dim" role="status">
          {[standing.namespace, words[standing.state]].filter(Boolean).join(' · ')}
        </span>
      </button>
      <button
        type="button"
        className="kfx-Button kfx-primary"
        onClick={() => kf.execute(CommandIDs.launch)}
        title={trans.__('New training job')}
      >
        + {trans.__('New job')}
      </button>
    </div>
  );
}

/** The section of training jobs. */
export function trainingSection(kf: IKubeflow): Section {
  return {
    id: 'training',
    rank: 10,
    create: () => {
      const widget = widgetOf(kf, <JobList />);
      widget.title.label = kf.trans.__('Training');
      return widget;
    }
  };
}

/** The section of studies. */
export function studiesSection(kf: IKubeflow): Section {
  return {
    id: 'studies',
    rank: 20,
    create: () => {
      const widget = widgetOf(kf, <StudyList />);
      widget.title.label = kf.trans.__('Studies');
      return widget;
    }
  };
}
